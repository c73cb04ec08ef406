"""The pages of the leaderboard, as markdown, and their rows for other programs."""
