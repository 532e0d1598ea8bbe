"""Train or fine-tune the classifier on photographs, one folder per class; the result is what `export` takes.

`fit.fit` is the loop alone, for any model and any source of batches; `run.train` is the whole command.
"""
