"""The pictures and tables of docs/networks, made from the networks' own modules.

`python -m docs.drawing`, in the root of the repository, makes them anew; the tests compare them with the code.
"""
