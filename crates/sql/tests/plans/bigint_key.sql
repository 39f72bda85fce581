SELECT label FROM transactions JOIN small ON points = id AND label <> 'x'
