"""The door for people and programs: HTTP and the web page. It never loads torch."""
