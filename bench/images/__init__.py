"""Operations on batches of images: augmentation, corruptions, adversarial perturbations."""
