"""Tests of nights."""
