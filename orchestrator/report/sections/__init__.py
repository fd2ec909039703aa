"""What a report says: its sections, each with its tables, figures and limits."""
