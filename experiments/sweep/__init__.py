"""What is asked for: a sweep file becomes a validated Sweep, then a Plan of tasks with signatures and cost."""
