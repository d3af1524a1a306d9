"""Trainings that show which claims of the papers hold."""
