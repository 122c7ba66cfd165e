"""What a training is made of: manifests, folds, checks, slices, augmentation."""
