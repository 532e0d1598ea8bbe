"""Accuracy on labelled photographs, of any artifact, as the device itself would classify them: no torch.

`labels` finds the photographs and what they show, `run` classifies them one by one, `metrics` has the
figures, and `text`, `document` and `report` show them on the terminal, as JSON and as one HTML page. `cli`
ties them together.
"""
