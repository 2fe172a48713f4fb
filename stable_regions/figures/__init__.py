"""One module per figure: `draw(tables...)` returns the drawn data as a table, and the figure."""
