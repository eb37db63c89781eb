"""The commands of edm-sweep. Thin: each parses, calls one function, prints; what is heavy is imported late."""
