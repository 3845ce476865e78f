"""Find the object in your photographs, as ``unet-predict``: ``python -m tools.predict --help``."""

from unet.inference.command import main

if __name__ == "__main__":
    main()
