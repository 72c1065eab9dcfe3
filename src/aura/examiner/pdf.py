"""From the page to PDF; nothing is read from disk or network on the way."""

from __future__ import annotations

from aura.errors import ReportError


def pdf(html: str) -> bytes:
    """The page as PDF; whatever is not inside the page itself is left out.

    Raises:
        ReportError: a library of the system that sets the text is missing.
    """
    try:
        import weasyprint  # noqa: PLC0415 - optional extra, slow to import
        from weasyprint.urls import URLFetcher  # noqa: PLC0415
    except OSError as error:  # Pango is no Python package
        raise ReportError(
            f"--pdf needs Pango, a library of the system ({error}): apt install "
            "libpango-1.0-0 libpangoft2-1.0-0, or brew install pango; --html needs nothing more"
        ) from None
    inside = URLFetcher(allowed_protocols=["data"], allow_redirects=False)
    made: bytes = weasyprint.HTML(string=html, url_fetcher=inside).write_pdf()
    return made
