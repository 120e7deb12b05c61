"""The figures of a report. One drawing for page and PDF; matplotlib is imported when one is drawn."""
