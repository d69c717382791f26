"""One execution as a page that can be mailed: a model of it, and the model as HTML."""
