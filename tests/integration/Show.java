import javax.jms.BytesMessage;
import javax.jms.Connection;
import javax.jms.ConnectionFactory;
import javax.jms.Message;
import javax.jms.MessageConsumer;
import javax.jms.Session;
import javax.jms.TextMessage;

/** Prints what a JMS consumer makes of the messages of a queue: java -cp 'lib/*' Show.java FACTORY LOGIN PASSCODE QUEUE COUNT. */
class Show {
    public static void main(String[] arguments) throws Exception {
        var factory = (ConnectionFactory) Class.forName(arguments[0])
            .getConstructor(String.class).newInstance("tcp://localhost:61616");
        try (Connection connection = factory.createConnection(arguments[1], arguments[2])) {
            connection.start();
            Session session = connection.createSession(false, Session.AUTO_ACKNOWLEDGE);
            MessageConsumer consumer = session.createConsumer(session.createQueue(arguments[3]));
            for (int left = Integer.parseInt(arguments[4]); left > 0; left--) {
                System.out.println("JMS " + describe(consumer.receive(20_000)));
            }
        }
    }

    private static String describe(Message message) throws Exception {
        if (message instanceof TextMessage text) {
            return "TextMessage " + java.util.HexFormat.of().formatHex(text.getText().getBytes("UTF-8"));
        }
        if (message instanceof BytesMessage bytes) {
            byte[] body = new byte[(int) bytes.getBodyLength()];
            bytes.readBytes(body);
            return "BytesMessage " + java.util.HexFormat.of().formatHex(body);
        }
        return String.valueOf(message);
    }
}
