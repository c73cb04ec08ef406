"""The static site: the same rows as those of the markdown pages, as HTML that can be sorted, filtered and opened."""
