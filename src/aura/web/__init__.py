"""The web page (extra `web`): shows what the service knows, and adds no finding to it.

`mount.py` puts the pages on the service's application. Routes ask the service, the views turn
reports into what a template shows, templates and `static/` show it. All words are in `texts/`.
"""
