"""A study of the dataset: copies of photographs, agreement of masks, suspect masks."""
