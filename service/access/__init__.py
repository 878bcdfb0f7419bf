"""Who may ask for what: API keys, the rate of each, and what web pages in a browser may do. See docs/security.md."""
