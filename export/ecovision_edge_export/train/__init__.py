"""Train or fine-tune the classifier on photographs, one folder per class; the result is what `export` takes.

`core.fit.fit` is the loop alone, for any model and any source of batches; `run.train` is the whole command.
Loose here: the command line (`cli`, `screen`), what is asked for (`options`, `recipes`) and the way of one
training (`prepare`, `work`, `run`) or of an average of several (`averaging`).
"""
