"""The page of HTML about a campaign."""
