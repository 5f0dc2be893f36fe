"""What people see of a campaign: its status, the list of its files, and a page of HTML."""
