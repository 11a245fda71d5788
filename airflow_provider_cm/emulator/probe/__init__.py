"""
Find out what the emulator can only guess, by asking a real service (or another emulator).

``python -m airflow_provider_cm.emulator.probe --endpoint URL --project SCRATCH --token-env NAME`` creates a few sources
with a random prefix in a scratch project, tries out what the vendor's pages leave open, deletes what it created, and
prints the answers as settings of the emulator.
"""
