"""Reports: one HTML file that says what a run or a table holds."""
