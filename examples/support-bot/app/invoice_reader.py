"""Reads invoices. An ordinary program on the Anthropic SDK 0.125 that nobody has touched for a while."""

import anthropic
from web import serve

client = anthropic.AsyncAnthropic()


async def answer(invoice):
    async with client.messages.stream(
        model="claude-sonnet-4-6",
        max_tokens=200,
        temperature=1.0,  # far too creative for invoices
        system="Extract sender, date and amount as JSON.",
        messages=[{"role": "user", "content": invoice}],
    ) as stream:
        return await stream.get_final_text()


serve(answer)
