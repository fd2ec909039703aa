"""What tests of exports share."""

from made_studies import MadeStudy


def keep(made: MadeStudy) -> MadeStudy:
    """Write the study and the verdicts of its trials."""
    made.write()
    for record in made.records:
        made.store.judge(record, {})
    return made
