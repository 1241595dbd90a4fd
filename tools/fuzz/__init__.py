"""Broken files by the thousand, to see that reading them never fails in a way that a user would not understand.

    make fuzz                              20,000 files, at most half an hour
    python -m tools.fuzz --seed 7 --only 1234   one of them again

Every file is made from a seed and its number alone, so what was found can be made again.
"""
