"""`python -m docs.drawing`: draw the pictures of docs/networks and write the tables between the pages' markers."""

from docs.drawing.pages import PAGES

for page in PAGES:
    page.file.write_text(page.updated())
    page.picture.write_bytes(page.drawn())
