"""What is seen of a recording while it goes on: pictures of all views, and a page in the browser."""
