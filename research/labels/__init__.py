"""What is known of the dataset: copies of photographs, how well masks agree, suspect masks."""
