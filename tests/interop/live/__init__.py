"""Other libraries at work beside ours, where they are installed: the committed numbers, made anew."""
