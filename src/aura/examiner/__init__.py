"""The examiner's report: one template, printed as HTML or PDF (extra `report`).

It adds no finding to the report that it prints. The template and what fills it live here.
"""
