"""A from-scratch U-Net for pet-against-background segmentation."""
