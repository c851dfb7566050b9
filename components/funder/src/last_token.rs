//! What a friend signed last, for an application that keeps it: with it anybody can check on which
//! balances and limits the friend agreed.

use offset_proto::{
    Name,
    app::{AppError, ErrorCode},
    token::{LastToken, TOKEN_PAGE_BYTES, TokenPage},
};

use crate::{destination::app_error, funder::Funder, proof};

impl Funder {
    /// A page of what a friend signed last, from 0 on.
    pub(crate) fn last_token_page(&self, name: &Name, page: u32) -> Result<TokenPage, AppError> {
        let key = self.named(name)?;
        let friend = self.friend(&key);
        let signed = friend.and_then(|friend| proof::last_signed(friend, &self.ends(key)));
        let Some(signed) = signed else {
            let counter = friend.map_or(0, |friend| friend.channel.counter);
            let message = if counter < 2 {
                format!(
                    "{name} has signed nothing yet: ask again when both of you have added each \
                     other and have been online at the same time"
                )
            } else {
                format!(
                    "what {name} signed last was lost with this node's state: ask again when {name} \
                     has sent its next token, for example after a payment"
                )
            };
            return Err(app_error(ErrorCode::NotFound, &message));
        };
        let last = LastToken { signer: key, receiver: self.local, signed };
        let bytes = last.encode();
        let start = usize::try_from(page).ok().and_then(|page| page.checked_mul(TOKEN_PAGE_BYTES));
        let Some(rest) = start.and_then(|start| bytes.get(start..)).filter(|it| !it.is_empty())
        else {
            let message = "there is no such page of what the friend signed: ask from the first on";
            return Err(app_error(ErrorCode::Invalid, message));
        };
        Ok(TokenPage {
            token_id: last.id(),
            total_bytes: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
            bytes: rest[..rest.len().min(TOKEN_PAGE_BYTES)].to_vec(),
        })
    }
}
