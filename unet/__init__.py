"""A from-scratch U-Net for object-against-background segmentation."""
