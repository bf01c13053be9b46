"""A conversation about the weather, for the tests of template families."""

from __future__ import annotations

TOOLS = [
    {
        "function": {
            "name": "get_weather",
            "description": "Weather of a city",
            "parameters": {
                "type": "object",
                "required": ["city"],
                "properties": {
                    "city": {"type": "string", "description": "The city"},
                    "unit": {"type": "string", "enum": ["C", "F"]},
                },
            },
        }
    }
]
FUNCTION = (
    '{"name":"get_weather","description":"Weather of a city","parameters":{"type":"object","required":["city"],'
    '"properties":{"city":{"type":"string","description":"The city"},"unit":{"type":"string","enum":["C","F"]}}}}'
)
SYSTEM = {"role": "system", "content": "Be brief."}
ASK = {"role": "user", "content": "Rome?"}
