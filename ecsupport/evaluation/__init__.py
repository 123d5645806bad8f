"""Evaluation from arrays and data frames alone: the metrics, their uncertainty and what they mean in practice."""
