"""The commands that show what is installed and recorded, and those that keep folders of records in order."""
