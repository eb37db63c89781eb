"""The store: results in folders by signature, written so that a kill at any moment loses nothing finished."""
