"""One module a figure: `draw(tables...)` gives what is drawn as a table, and its picture."""
