"""Writes whole numbers as JSON clients write them: 4, not 4.0."""
import schemathesis


def whole(value):
    if isinstance(value, dict):
        return {name: whole(part) for name, part in value.items()}
    if isinstance(value, list):
        return [whole(part) for part in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


@schemathesis.hook
def map_body(_context, body):
    return whole(body)
