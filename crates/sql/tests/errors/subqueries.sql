SELECT transaction_id FROM transactions WHERE merchant_id IN (SELECT merchant_id FROM merchants) AND amount > (SELECT 1)
