"""Another bundle reads beside the live one, tells nobody, and may be promoted and rolled back.

The doors are modules: `loop` for the role that reads, `standing` for who asks how far it is,
`report` for who compares, `releasing` for who decides. `loop` and `report` bring much with them.
"""
