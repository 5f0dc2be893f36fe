"""`ssnet dashboard`: a page that shows a site live, in a browser."""
