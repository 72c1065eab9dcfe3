"""From the page to PDF; nothing is read from disk or network on the way."""

from __future__ import annotations


def pdf(html: str) -> bytes:
    """The page as PDF; whatever is not inside the page itself is left out."""
    import weasyprint  # noqa: PLC0415 - optional extra, slow to import
    from weasyprint.urls import URLFetcher  # noqa: PLC0415

    inside = URLFetcher(allowed_protocols=["data"], allow_redirects=False)
    made: bytes = weasyprint.HTML(string=html, url_fetcher=inside).write_pdf()
    return made
