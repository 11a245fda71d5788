"""Decorators that make tasks of Python functions: ``@task.load_messages``."""
