"""ReWiND (Zhang et al., arXiv 2505.10911): a small causal transformer over frozen frame and sentence features.

Importing this package imports none of its parts; those that hold a network need the extra `rewind`.
"""
