"""Fill the tables of all pages, and draw the pictures: `make tables`."""

from docs.tables.pages import main

main()
