"""Measuring instruments, trained on patients of no split and accepted on known degradations before they are used."""
