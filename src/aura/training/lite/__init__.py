"""What stands on the card of profile `lite`: changed copies of labelled clips, judged and counted.

python -m aura.training.lite make|judge|cues|refit|card --out DIR
"""
